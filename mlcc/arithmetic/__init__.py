"""The arithmetic contract as data: reduction order, elementary-function sequences, data types."""
