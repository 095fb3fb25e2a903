"""A page and an HTTP API to search one's own music by words or by sound, to listen to it and to see it as a map."""
