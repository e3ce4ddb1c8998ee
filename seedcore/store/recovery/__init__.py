"""Opened only when a disk broke: damaged files, damaged logs, backups."""
