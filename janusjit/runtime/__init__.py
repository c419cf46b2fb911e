"""Running: dispatch, specializations, events and statistics."""
