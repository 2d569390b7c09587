"""The local substrate: supervised processes on 127.0.0.1, all state below one directory."""
