"""The rules that an organisation sets: who may operate, what needs whose approval, what is held or never searched.

``model`` says what a policy is, ``read`` reads one file, ``merge`` puts several together so that none can loosen
another, ``effective`` finds them, ``holds`` answers what may not be removed. Approvals are checked in the engine.
"""
