"""Loss distillation: the weighting whose slopes are nearest to another loss's, found or learned."""
