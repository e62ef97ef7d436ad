"""What a user does with crow: one file a command."""
