"""What runs in the request path and after it."""
