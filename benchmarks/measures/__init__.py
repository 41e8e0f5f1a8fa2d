"""What the commands measure, apart from how they are asked and shown."""
