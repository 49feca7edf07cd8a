"""Raw text in, training and hold-out documents out, with a reason for every drop. No torch."""
