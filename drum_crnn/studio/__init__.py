"""The studio: performances × kits → recordings whose labels are exact."""
