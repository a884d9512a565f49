"""Upload to and download from an Artifact CAS, with digests checked on both sides."""

from artifact_cas_client.client import Client
from artifact_cas_client.digests import digest_of_file
from artifact_cas_client.errors import (
    ArtifactCorrupt,
    BadAnswer,
    Cancelled,
    CasError,
    ConfigurationError,
    ConnectionFailed,
    DigestMismatch,
    NotFound,
    ServerError,
    TokenRefused,
    Unavailable,
)
from artifact_cas_client.results import Description, Download, Upload

__all__ = [
    "ArtifactCorrupt",
    "BadAnswer",
    "Cancelled",
    "CasError",
    "Client",
    "ConfigurationError",
    "ConnectionFailed",
    "Description",
    "DigestMismatch",
    "Download",
    "NotFound",
    "ServerError",
    "TokenRefused",
    "Unavailable",
    "Upload",
    "digest_of_file",
]
