"""Users of MLflow that have one experiment each, made by its administrator."""
