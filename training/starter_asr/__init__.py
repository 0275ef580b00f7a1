"""The recipe that trains `starter-asr`, a tiny Whisper on synthetic speech.

It knows nothing of the server: its only product is an ordinary Hugging Face checkpoint folder."""
