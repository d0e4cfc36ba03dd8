"""Orders of shops: on their way in, to suppliers, and back as parcels; each step once, and told."""
