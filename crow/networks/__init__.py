"""Networks that compute the parameters of bijections."""
