"""What runs inside the training and evaluation jobs: collect, validate, train, evaluate."""
