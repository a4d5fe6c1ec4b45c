"""HTTP without anything about invocations: requests read, answers and events written."""
