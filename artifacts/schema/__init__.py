"""The OpenAPI document of the transfer API. No transfer runs any of this: casproject/schema/ asks for it."""
