"""One trace for each request, sent in the background; losing one never costs a request."""
