"""The one seam to the network: signing, connections, deadlines, and one request with its bounded answer."""
