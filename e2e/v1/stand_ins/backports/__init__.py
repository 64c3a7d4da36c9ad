"""In the place of backports.lzma, with which docker-registry lists the files of a layer. Using it fails."""
