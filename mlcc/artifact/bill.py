"""The SBOM (CycloneDX 1.6, an ML-BOM) and the SLSA provenance of an artifact: no times, no machine."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion

from mlcc.artifact.manifest import dumps
from mlcc.version import __version__

BUILD_TYPE = "https://mlcc.dev/build/v1"


def sbom(
    model: str, model_digest: str, target: str, operators: Mapping[str, int], libraries: Mapping[str, str], tools: Mapping[str, str]
) -> bytes:
    """The model, mlcc and the tools that took part. `libraries`: file → SHA-256; `tools`: name → version."""
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{model_digest}/{target}/{sorted(libraries.values())}"))
    bom.metadata.timestamp = None  # type: ignore[assignment]
    bom.metadata.tools.tools.clear()
    bom.metadata.tools.components.clear()
    main = Component(
        name=model, type=ComponentType.LIBRARY, bom_ref=f"{model}-{target}", properties=[Property(name="mlcc:target", value=target)]
    )
    bom.metadata.component = main
    parts = [
        Component(
            name=model,
            type=ComponentType.MACHINE_LEARNING_MODEL,
            bom_ref="model",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=model_digest)],
            properties=[Property(name=f"mlcc:operator:{op}", value=str(n)) for op, n in sorted(operators.items())],
        ),
        Component(name="mlcc", version=__version__, type=ComponentType.APPLICATION, bom_ref="mlcc"),
        *(Component(name=t, version=v, type=ComponentType.APPLICATION, bom_ref=t) for t, v in sorted(tools.items())),
        *(
            Component(name=n, type=ComponentType.FILE, bom_ref=n, hashes=[HashType(alg=HashAlgorithm.SHA_256, content=h)])
            for n, h in sorted(libraries.items())
        ),
    ]
    for part in parts:
        bom.components.add(part)
    bom.register_dependency(main, parts)
    text = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    text.get("metadata", {}).pop("timestamp", None)
    return dumps(text)


def provenance(model_digest: str, model: str, parameters: Mapping[str, Any], tools: Mapping[str, str]) -> dict[str, Any]:
    """A SLSA Provenance v1 predicate; reproducible, so it names no builder instance and no times."""
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": dict(parameters),
            "internalParameters": {},
            "resolvedDependencies": [
                {"name": model, "digest": {"sha256": model_digest}},
                *({"name": t, "annotations": {"version": v}} for t, v in sorted(tools.items())),
            ],
        },
        "runDetails": {"builder": {"id": f"https://mlcc.dev/mlcc/{__version__}"}},
    }
