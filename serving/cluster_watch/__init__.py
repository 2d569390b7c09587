"""Writes what the router follows as files: tenancy records and the servers of the pools."""
