"""What several commands share. No module of this folder is a command."""
