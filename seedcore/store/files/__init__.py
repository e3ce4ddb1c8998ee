"""What is on the disk: a store's files, their tables and checksums, large arrays beside them."""
