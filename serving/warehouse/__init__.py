"""The warehouse: what routers, clusters and jobs reported, as files that billing reads."""
