"""Pretrained networks that install as ordinary packages, read from their files."""
