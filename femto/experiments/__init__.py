"""Measurements of femto's models against each other and against simpler ones."""
