"""The configuration file of a Bifrost gateway, as typed models; nothing here runs in it."""
