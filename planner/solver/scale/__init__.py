"""Programs too large for one master: prices, a first plan, neighborhoods to improve it, and bounds model by model.

`search` is the way in. Everything here works on `flat` arrays of the program and on `part`s of it, which are programs
themselves and go through the same master and the same exact judge as any other.
"""
