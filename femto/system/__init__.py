"""What stands between femto and the machine: files, JSON, memory, random numbers, text for people."""
