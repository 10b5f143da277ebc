"""What a disk that fails, a process that is killed and a machine that loses its power leave of femto's files."""
