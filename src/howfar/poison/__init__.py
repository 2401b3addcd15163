"""A protected set as a thing of its own: written, checked, read again, exported in the formats of others."""
