"""The one place that knows TVM: building TIR, lowering it, generating code."""
