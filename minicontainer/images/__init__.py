"""Images: layers, the store that holds them, and the union mount that makes them one file tree.

An image is a list of immutable layers and a small JSON document about them. Everything is named by its
sha256, so a name can never mean two things and the same layer is kept once. It lies on disk as an OCI image
layout (https://github.com/opencontainers/image-spec), which other tools read as it is.
"""
