"""How families of models are offered tools, how they call them, and how they are held to it."""
