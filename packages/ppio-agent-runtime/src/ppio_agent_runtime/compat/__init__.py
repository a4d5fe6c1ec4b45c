"""Apps of other SDKs on this runtime, so that you can migrate an agent by changing one import."""
