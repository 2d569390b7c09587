"""One Pulumi ComponentResource a file; no business logic."""
