"""The intermediate representation: types, places, guards, boxes, graph, its text, verifier and interpreter."""
