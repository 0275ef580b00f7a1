"""The recipe that trains `starter-tts`, a tiny SpeechT5 with a HiFi-GAN, on one synthetic voice.

It knows nothing of the server: its only product is an ordinary Hugging Face checkpoint folder."""
