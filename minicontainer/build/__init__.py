"""Dockerfile to image: the language, what is copied from, the cache, and the builder that runs the steps."""
