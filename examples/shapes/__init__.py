"""How the bundled model was made: its pictures, its captions, its training, and what tells whether it draws rightly."""
