"""In the place of M2Crypto, which docker-registry imports for the requests of an index. Using it fails."""
