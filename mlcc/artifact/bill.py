"""The SBOM (CycloneDX 1.6, an ML-BOM) and the SLSA provenance of an artifact: no times, no machine."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalContact
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion

from mlcc.artifact.manifest import Manifest, dumps
from mlcc.version import __version__

BUILD_TYPE = "https://mlcc.dev/build/v1"


def sbom(about: Manifest, libraries: Mapping[str, str], tools: Mapping[str, str]) -> bytes:
    """The model, mlcc and the tools that took part. about: the manifest; `libraries`: file → SHA-256; `tools`: name → version."""
    model, digest, target, known = about["model"], about["model_digest"], about["target"], about.get("about", {})
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{digest}/{target}/{sorted(libraries.values())}"))
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
            version=known.get("version"),
            description=known.get("description"),
            licenses=[LicenseFactory().make_from_string(known["licence"])] if "licence" in known else None,
            authors=[OrganizationalContact(name=known["author"])] if "author" in known else None,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
            properties=[
                *(Property(name=f"mlcc:operator:{op}", value=str(n)) for op, n in sorted(about["operators"].items())),
                *(Property(name=f"mlcc:framework:{n}", value=v) for n, v in sorted(known.get("frameworks", {}).items())),
                *(Property(name=f"mlcc:{k}", value=known[k]) for k in ("revision", "url") if k in known),
            ],
        ),
        Component(name="mlcc", version=__version__, type=ComponentType.APPLICATION, bom_ref="mlcc"),
        *(Component(name=t, version=v, type=ComponentType.APPLICATION, bom_ref=t) for t, v in sorted(tools.items())),
        *(
            Component(name=n, type=ComponentType.FILE, bom_ref=n, hashes=[HashType(alg=HashAlgorithm.SHA_256, content=h)])
            for n, h in sorted(libraries.items())
        ),
    ]
    if "dataset" in known:
        hashes = [HashType(alg=HashAlgorithm.SHA_256, content=known["dataset_sha256"])] if "dataset_sha256" in known else None
        parts.append(Component(name=known["dataset"], type=ComponentType.DATA, bom_ref="dataset", hashes=hashes))
    for part in parts:
        bom.components.add(part)
    bom.register_dependency(main, parts)
    text = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    text.get("metadata", {}).pop("timestamp", None)
    for component in text["components"]:
        if component["bom-ref"] == "model":
            component["modelCard"] = card(about)
    return dumps(text)


def card(about: Manifest) -> dict[str, Any]:
    """CycloneDX' model card, which the library does not write: https://cyclonedx.org/docs/1.6/json/#components_items_modelCard"""
    known = about.get("about", {})
    ends = {k: [{"format": f"{t['name']}: {t['dtype']}{t['shape']}"} for t in about[k]] for k in ("inputs", "outputs")}
    datasets = {"datasets": [{"ref": "dataset"}]} if "dataset" in known else {}
    metrics = [{"type": name, "value": repr(value)} for name, value in sorted(known.get("metrics", {}).items())]
    return {"modelParameters": {**ends, **datasets}, **({"quantitativeAnalysis": {"performanceMetrics": metrics}} if metrics else {})}


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
