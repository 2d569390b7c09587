"""Tools that set up and test the project."""
