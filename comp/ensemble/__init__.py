"""Many tables of predictions to one; sees only tables, joins only by image id."""
