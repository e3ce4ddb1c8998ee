"""What a store promises, whatever engine keeps it: keys, values as bytes, requests that are done once."""
