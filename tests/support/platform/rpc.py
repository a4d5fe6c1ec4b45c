"""The errors of a Connect RPC call."""

from __future__ import annotations


class RpcError(Exception):
    """A refused call: a code of the Connect protocol, and the status that goes with it."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
