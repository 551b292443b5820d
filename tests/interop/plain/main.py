"""The protocol as curl would speak it: every call with the bytes that some client really sends."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import harness
import configs
import hostile
import naming
import operators
import others
import pushes
import rest

# Importing a module adds its cases.
assert configs and hostile and naming and operators and others and pushes and rest

if harness.USER:
    import users

    assert users

harness.main()
