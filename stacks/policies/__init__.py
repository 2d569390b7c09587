"""Who may do what in AWS, as pure functions that return policy documents. No pulumi."""
