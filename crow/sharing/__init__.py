"""What of a run may leave: everything but what belongs to single subjects."""
