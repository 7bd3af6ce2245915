"""Programs that compute a network, behind one small interface."""
